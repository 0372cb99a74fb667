"""Assessments: models are really asked what they can do; what was found is kept, told to routing and turned into suggestions."""
