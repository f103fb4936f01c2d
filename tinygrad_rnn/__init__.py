"""A small tensor and autograd engine on NumPy or CuPy that builds an unrolled computation graph.

>>> import tinygrad_rnn as tg
>>> x = tg.tensor([1.0, 2.0], requires_grad=True)
>>> tg.tanh(x).sum().backward()
>>> x.grad
tensor([0.42  , 0.0707])
"""

from . import bptt, io, nn, ops, optim, random, tree
from .checkpoint import checkpoint
from .debug import detect_anomaly
from .declare import bilinear, constant, elementwise, linear, primitive
from .graph import Graph
from .io import load, save
from .node import no_grad, scope, steps
from .ops.activation import *
from .ops.complex import *
from .ops.conv import *
from .ops.einsum import *
from .ops.elementwise import *
from .ops.flow import detach, tap
from .ops.index import *
from .ops.linalg import *
from .ops.loss import *
from .ops.reduce import *
from .ops.shape import *
from .ops.special import *
from .scan import explain, scan
from .tensor import Tensor, from_dlpack, ones, tensor, zeros
from .testing import gradcheck
from .transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
