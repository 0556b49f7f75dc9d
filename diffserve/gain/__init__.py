"""Cascades of a registry's variants: a judge, and heads that predict what deferring gains.

A preference model of CLIP's kind judges images; over the features of another such network a linear
head learns, for each pair of variants, how much better the heavy image would be than the light one.
Needs torch and transformers.
"""
