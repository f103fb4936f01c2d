"""Forward messages by the names that texts on encoders and decoders give them."""

from __future__ import annotations

import tinygrad_rnn as tg

__all__ = ["forward_messages"]

Named = dict[str, dict[str, tg.Tensor]]


def forward_messages(problem: tg.bptt.Problem) -> list[Named]:
    """After every step the sensitivities dz_t/dθ of the carry, RTRL's forward messages, by name and parameter path.

    ``alpha``: to what meets a layer's input, weights and bias. ``beta``: to what meets its old state. In a net with an
    encoder and a decoder these are of the one that runs, its own; across the hand-over go ``zeta``, of the decoder's
    state to what meets the encoder's input, and ``gamma``, to what meets the encoder's old state:

        α_t = ∂⁺s_t/∂w + α_{t−1} J_t              β_t = ∂⁺s_t/∂u + β_{t−1} J_t
        ζ_t = α^e C D_t + ζ_{t−1} J^d_t           γ_t = β^e C D_t + γ_{t−1} J^d_t  [+ ∂⁺s_t/∂u where C = U^e]

    ``nu``: to the head, where a net reads what it emitted. A Tensor (n_t, *shape) for each parameter, n_t the numbers
    of the carry: recursions over whole Jacobians, not their diagonals. A parameter without an influence is left out.

    >>> import zoo
    >>> from zoo.topology.examples import example
    >>> found = forward_messages(example("encoder-decoder-state", "ElmanRNN", hidden=4))
    >>> sorted(found[2]), sorted(found[3])
    (['alpha', 'beta'], ['alpha', 'beta', 'gamma', 'zeta'])
    >>> found[3]["gamma"]["encoder/cell/U"].shape
    (4, 4, 4)
    """
    found = tg.bptt.messages(problem)
    recurrent = tg.bptt.recurrent_parameters(problem)
    writing, steps = False, []
    for t in range(1, len(problem) + 1):
        named: Named = {}
        moved = {path: g for path, g in found.sensitivity(t).items() if g.data.any()}
        own = found.parameters.container(found.immediate[t - 1])
        writing = writing or any(own[path].data.any() for path in own if path.startswith("decoder"))
        for path, g in moved.items():
            crossed = writing and path.startswith("encoder")
            name = ("gamma" if crossed else "beta") if path in recurrent else "zeta" if crossed else "alpha"
            named.setdefault("nu" if path.startswith("head") else name, {})[path] = g
        steps.append(named)
    return steps
