"""NewMethod keeps every promise that Inarch makes for it: one test for each law and each kind of model."""

from inarch.testing import laws_of

from inarch_new_method import NewMethod

test_laws = laws_of(NewMethod(rank=4))
