"""ONNX in: model files, pools of them, and their lowering to affine and masked-ReLU layers."""
