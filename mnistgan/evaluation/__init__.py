"""How good generated digits are: scores of features and of class probabilities."""
