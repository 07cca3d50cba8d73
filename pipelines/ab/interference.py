"""Do the arms make different training data? A model of P(arm | row) on what was shown.

Recommenders that are trained on the log of both arms learn from each other's traffic, so the effect
that is measured is not that of launching one of them (Si, arXiv 2310.17496; Holtz, Brennan and
Pouget-Abadie, arXiv 2309.07107). How far that can matter is seen in how well a row tells its arm.
"""
