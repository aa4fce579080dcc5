"""Weights to start from: a checkpoint zoo for image-to-image models.

Names are imported when they are first used, since torch alone takes seconds to load.

    Zoo              a zoo of checkpoints: find, pull and generate weights
    Init             weights to start from, in memory and as a file
    Request          words, example pairs and a seed: the input of `Zoo.pull`
    AutoNetwork      builds a network, ready to use or to train, from any of these
    WeightGenerator  the diffusion model that makes weights from words
    Recipe           the network, adapters and layout that checkpoints of a family share
    finetune         train a network on before/after pairs
    harvest          train a zoo of many concepts
    diagnose         whether a network can be trained from its weights
    evaluate         measure the checkpoints of a zoo
    export           write an init as a file that other tools read
    blend_inits      an init between two others
    load_blocks      the weight blocks of a zoo as a `datasets` data set
    push_to_hub      publish the weights of a network or an init on the Hub
    InitzooError     the error that all failures of initzoo share

>>> from initzoo import Zoo
>>> Zoo.from_pretrained("starter").pull("pencil sketch")
Init('pencil-sketch', exact, merged, recipe 'starter-2')
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
