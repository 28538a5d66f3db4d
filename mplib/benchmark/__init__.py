"""What a regulariser costs: time and memory of training steps, measured as ratios of one run.

``turns`` measures fairly, ``steps`` says what a step is, ``memory`` counts what is kept, ``parts`` splits a step,
``roofline`` asks what the machine allows, ``growth`` what happens when things get larger, ``bars`` whether it is fast
enough, ``official`` brings in the authors' code, and ``suites`` is the list that ``mplib bench`` offers.
"""
