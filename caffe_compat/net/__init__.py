"""A prototxt as an nn.Module: what is built (plan), its blobs, its weights."""

from caffe_compat.net.caffe_net import CaffeNet, load_net

__all__ = ["CaffeNet", "load_net"]
