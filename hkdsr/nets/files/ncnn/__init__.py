"""Networks in pairs of ncnn files, whose graph is run in PyTorch."""
