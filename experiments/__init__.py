"""The experiments of this project, one file each, and their results.

``study`` declares a protocol, trains it resumably, checks its records and compares its arms; ``sweeps``
trains and reads single runs, and ``manifest`` lists all records. On the digits, ``regimes`` asks when the
regularizer pays, ``paradigm_table`` adds it to every paradigm, ``ablations`` compares it with simpler
objectives, ``unlabeled`` leaves out the labels, and ``paper_settings`` tries the paper's own settings;
``cousins`` asks on small real data. ``hindsight`` says what was wrong with the first of these,
``selection`` simulates luck, and ``verdict`` is the protocol that decides, which ``decided`` puts into
words. ``judging`` turns an interval into a verdict; ``search`` lets optuna choose its weights. ``recipes/``
configures each benchmark of the paper, ``benchmarks`` runs it, and ``cost`` estimates its cost. ``report``
and ``claims`` compare the paper's numbers and words with the records.
"""
