"""The measuring behind ``python -m zoo bench``: ratios to other libraries that do the same work in the same run.

    process.py    starts the measuring process: threads and processors fixed before any library loads
    __main__.py   that process: a job in, one line of JSON a result out
    eager.py cells.py memory.py start.py checkpoint.py      the jobs
    equations.py  the cells once more, for torch_side.py (a loop; torch.nn) and jax_side.py (jit of lax.scan)
    measure.py peak.py               who takes turns with whom; the fastest matrix product there is
    plan.py table.py                 what is measured and what it must reach; what is shown
"""
