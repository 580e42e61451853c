"""Proofs that can be checked again, from the ONNX files alone, without trusting the search.

A certificate is an .npz without pickles. P points, E epsilons, models numbered as in the manifest.

    manifest                 JSON as uint8: format; models: name, sha256 and path of each;
                             queries: [network, ..., point, level] that are said to have no error
    center, label, epsilon   float32 (P, n); (P,); (E,) ascending: level e is the ball of epsilon[e]
    low, high                (P, n), what inputs keep to; infinite where nothing
    modelI.boxes             (Q, 2): point and level
    modelI.lower, .upper     (Q, N): what the pre-activations of all N hidden neurons keep to there
    teamT.members            (k,) networks
    teamT.facts              (F, 2 + k): point, level, and the class of each network that they don't all reach
    teamT.leaves             (F,): how many of the rows below belong to each fact, in this order
    teamT.sideJ              (R, N_j) int8: of network J of the team, the ReLUs fixed >= 0 (1) or <= 0 (-1)
    teamT.alphaJ             (R, N_j) in [0, 1]: slope of the line below an unstable ReLU
    teamT.betaJ              (R, N_j): multipliers of z, positive where z >= 0, negative where z <= 0
    teamT.weightJ            (R,) >= 0: of its margin
    teamT.lowerJ, .upperJ    (R, D_j): what its neurons after the first layer keep to, given these signs

`check` says why that is a proof. It shares nothing with the engine but the reader of networks.
"""
