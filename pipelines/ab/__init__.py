"""A/B tests of recommenders: simulated, trained for, analysed.

`experiment` says what a test is; `gather` turns its log into one row a unit; `validity`, `effects`
and what they lean on answer with numbers; `analysis` puts them together and `page` shows them.
`loop` is the world in which models that learn from each other's traffic are tried.
"""
