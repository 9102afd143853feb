"""Backbones, the aligner, signals of noise, calibration, checkpoints. Torch is used here and above.

Shapes in names (`x_BLD`): B sequences of a batch, L positions, D model dimension, K dimension of
the encoder's vectors, P of their projection, R rank of the collaborative factors, N interactions
one after the other, U sequences one after the other, V items of the vocabulary (row 0: unknown),
T items with text (row 0: none), S signals, W windows, M items that are compared with (negatives),
H heads or a hidden width, E width of a head, F filters or features, X of any shape.
"""
