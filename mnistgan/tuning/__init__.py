"""Search for the best values of configuration keys, with Optuna (the extra `tune`).

space.py      what is searched: ranges and lists, checked against the schema
storage.py    where a study is stored, and which of its trials are lost
slots.py      which of the trials count, whoever runs them
trial.py      one trial: an ordinary run
work.py       what one process does for a study
jobs.py       several processes
overview.py   what a table says about a study, as plain values
best.py       best.yaml
plots.py      Optuna's plots
"""
