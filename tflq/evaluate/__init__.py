"""Run files on evaluation samples, and record how their outputs differ from those of the float32 file."""
