"""The authors' networks as plain dicts, built from tables.

A net is the dict form of a Caffe `NetParameter` (field names of the .prototxt files): it can be printed, fingerprinted
and compared without importing torch or protobuf, and `caffe_compat` runs it. Tests hold every net built here against
the authors' own files, message for message.

    parts.py         convolution+BatchNorm+Scale+ReLU, fully connected, pooling
    bn_inception.py  the GoogLeNet-BN trunk as a table, and its auxiliary levels
    rll.py           Ranked List Loss: three heads, train and deploy
    osm_caa.py       OSM+CAA: classifiers with weighted softmax, attention, pair loss; images or tracklets
"""
