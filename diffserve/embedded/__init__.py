"""Small text-to-image models that come with the package and run on a CPU.

They draw captioned scenes of emoji art: a light and a heavy pipeline, and the discriminator that
decides between them. Of the library only this package and ``gain`` import torch.
"""
