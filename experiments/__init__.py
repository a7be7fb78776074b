"""What was run for this project, one file an experiment, and what is said of the results.

``sweeps`` runs settings and seeds, resumably. On the digits, ``regimes`` asks when the regularizer pays,
``paradigm_table`` puts it on top of every paradigm, ``ablations`` beside simpler objectives, ``unlabeled``
where there are no labels; ``search`` lets optuna choose its weights. ``recipes/`` says how each benchmark of
the paper is run, ``benchmarks`` runs it, ``cost`` counts what that takes. ``report`` and ``claims`` hold the
paper's numbers and words to the records.
"""
