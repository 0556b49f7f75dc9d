"""The experiments of ``diffserve reproduce``: each a module with NAME, TITLE and ``run``.

They drive the simulator and write ``docs/results``; nothing else in the library knows them.
"""
