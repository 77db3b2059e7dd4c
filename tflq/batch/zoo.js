"use strict";
(() => {
  const table = document.getElementById("zoo"), body = table.tBodies[0];
  const rows = [...table.tBodies].flatMap(part => [...part.rows]);
  const verdict = row => row.cells[1].textContent.replace(/^\W+/, "");
  const UNITS = { k: 1e3, M: 1e6 }, PAGE = 500, MORE = 2000;
  let shown = PAGE, key = null, down = false, order = rows;

  const value = (row, column) => {
    const text = row.cells[column].textContent;
    if (text === "equal") return Infinity;
    const number = /^([-+]?[\d.,]+)(?: ([kM])?B)?(?: [!✕])?$/.exec(text);
    return number ? parseFloat(number[1].replaceAll(",", "")) * (UNITS[number[2]] || 1) : text;
  };
  const compare = (a, b) => {
    if (a === "" || b === "") return a === b ? 0 : a === "" ? 1 : -1;
    const way = down ? -1 : 1;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return way * (typeof a === "number" ? a - b || 0 : a.localeCompare(b, "en", { numeric: true }));
  };

  const make = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const counts = new Map();
  for (const row of rows) counts.set(verdict(row), (counts.get(verdict(row)) || 0) + 1);
  const select = make("select", {}, make("option", { value: "" }, `all (${rows.length})`));
  for (const [name, count] of counts) select.append(make("option", { value: name }, `${name} (${count})`));
  const search = make("input", { type: "search" });
  const more = make("button", { type: "button", id: "more" });
  const status = make("span", {});
  status.setAttribute("role", "status");
  const label = (text, control) => make("label", {}, `${text} `, control);
  table.parentElement.before(make("div", { className: "tools" }, label("Verdict", select), label("Name", search), status));
  table.parentElement.after(make("div", { className: "tools" }, more));

  const show = () => {
    const name = search.value.toLowerCase();
    const found = order.filter(row => (!select.value || verdict(row) === select.value)
      && (!name || row.cells[0].textContent.toLowerCase().includes(name)));
    body.replaceChildren(...found.slice(0, shown));
    more.hidden = found.length <= shown;
    more.textContent = `Show ${Math.min(MORE, found.length - shown).toLocaleString("en")} more models`;
    status.textContent = `${Math.min(found.length, shown).toLocaleString("en")} of ${found.length.toLocaleString("en")} models`;
  };
  more.onclick = () => { shown += MORE; show(); };
  select.onchange = search.oninput = () => { shown = PAGE; show(); };

  [...table.querySelectorAll(".columns th")].forEach((head, column) => {
    const button = make("button", { type: "button" }, head.textContent);
    head.replaceChildren(button);
    button.onclick = () => {
      down = key === column && !down;
      key = column;
      table.querySelectorAll("[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const values = new Map(rows.map(row => [row, value(row, column)]));
      order = [...rows].sort((a, b) => compare(values.get(a), values.get(b)));
      show();
    };
  });
  [...table.tBodies].slice(1).forEach(part => part.remove());
  show();
})();
