"""Machine code for a step, made with LLVM; nothing in it is written for a cell. The way from a graph to functions:

    lower         softmax, norms and the like as the few ops that there is code for
    schedule      what is stored, in which order: chains, demands, nests, order (one direction each time), lifetimes
      direction   what one direction stores: roots and their units, products, totals
      places      buffers, and values in them; a view of something stored is stored
      index       which entry of a value is meant; what a view shows there
      reductions  sums, extrema and small products within a row
    module        the functions and their order: steps (the time loop), ends (weights, carries, sums over the batch)
      function    one function: arguments (slots), addresses of rows
      nest        the loops that units share, vector by vector
    functions     formulas of ops on vectors, with approximations of tanh, exp, …
    gemm, tile    products of matrices
    lanes         vectors of this processor, as LLVM writes them; vectors gives them Python's operators
    machine       object code from LLVM's text, kept on the disk
"""
