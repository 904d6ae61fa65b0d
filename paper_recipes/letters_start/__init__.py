"""Where letters runs start from: BN-Inception, trained by this project to tell symbols apart, as the papers' nets were on ImageNet.

symbols.py   the classes: symbols, digits and punctuation of the letters' type faces, none of which looks like a letter
pictures.py  training pictures of them
network.py   the net with its three classifiers, and its weights under Caffe's names
training.py  `python -m paper_recipes.letters_start`: trains it anew
finishing.py rounds its weights, measures its statistics and accuracy, writes the file
packing.py   the file that is shipped, and how it becomes a .caffemodel again
"""
