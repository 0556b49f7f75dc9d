"""What building cascades from variants takes, whichever variants they are. Without torch.

Measured outcomes go in; operating points, a choice, curves and the text of a catalog come out.
``embedded`` measures the models that come with the project, ``gain`` those of a registry.
"""
