"""A short-video feed with persistent users, whose log has the columns of KuaiRand's.

`population` says who there is and what they watch, `behaviours` what they do with a video, and
`life` lets them live day by day under two recommenders that are retrained on what was logged.
"""
