"""Data: frames of any sktime index as tensors, and the windows that networks see."""
