"""Mutation testing: changes the code, one place at a time, and sees whether a test notices.

`policy` tries every mutant of agent/rlagent/policy with mutmut, whose trampolines are quick where tests call functions
in their own process. Elsewhere tests start programs, so `sample` draws places at random (`places`, `draw`), writes each
mutant into a copy of the checkout (`stage`) and asks the tests that `modules` names for its module (`judge`).
`recheck` runs a share of the mutants that were killed before; `report` keeps and prints what was found.
"""
