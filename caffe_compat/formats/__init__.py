"""Files that Caffe wrote, to messages and arrays and back."""
