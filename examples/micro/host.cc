// Hands what the firmware would use to check.py: the array, the arena's size and the golden vectors.
#include <cstdio>
#include <string>

#include "digits-int8_only.h"
#include "digits-int8_only_golden.h"

namespace model = digits_int8_only_model;

namespace {

// Takes the place of tflite::MicroMutableOpResolver<model::kOpCount>, and notes how it is called.
struct Resolver {
  int AddConv2D() { return Note("CONV_2D"); }
  int AddDepthwiseConv2D() { return Note("DEPTHWISE_CONV_2D"); }
  int AddFullyConnected() { return Note("FULLY_CONNECTED"); }
  int AddMaxPool2D() { return Note("MAX_POOL_2D"); }
  int AddAveragePool2D() { return Note("AVERAGE_POOL_2D"); }
  int AddMean() { return Note("MEAN"); }
  int AddReshape() { return Note("RESHAPE"); }
  int AddSoftmax() { return Note("SOFTMAX"); }
  int Note(const char* op) {
    ops += std::string(ops.empty() ? "" : " ") + op;
    return 0;
  }
  std::string ops;
};

bool Write(const std::string& path, const void* data, std::size_t size) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  const bool is_whole = std::fwrite(data, 1, size, file) == size;
  return std::fclose(file) == 0 && is_whole;
}

}  // namespace

int main(int count, char** arguments) {
  Resolver resolver;
  if (count != 2 || !model::AddOps(resolver)) return 1;
  const std::string folder = std::string(arguments[1]) + "/";
  const bool is_written = Write(folder + "array", g_digits_int8_only_model_data, g_digits_int8_only_model_data_size) &&
                          Write(folder + "inputs", model::kGoldenInput0, sizeof(model::kGoldenInput0)) &&
                          Write(folder + "outputs", model::kGoldenOutput0, sizeof(model::kGoldenOutput0));
  std::printf("%zu %zu %d %s\n", model::kArenaSize, model::kGoldenCount, model::kOpCount, resolver.ops.c_str());
  const float white = 1.0f;
  std::printf("%d %.4f\n", model::QuantizeInput0(white), model::DequantizeInput0(model::QuantizeInput0(white)));
  return is_written ? 0 : 2;
}
