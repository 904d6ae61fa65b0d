"""Networks that step, embed and keep a state: Caffe's, PyTorch's, ONNX; their start weights and checkpoints."""
