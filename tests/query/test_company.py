"""When a query leaves a core to others."""

from orrery.query.company import COMPANY_SECONDS, Company

from .fakes import FakeMeter


def meter():
    return FakeMeter(samples_max=0, series_max=0, deadline_seconds=None)


def test_a_tenant_alone_keeps_every_core():
    company = Company()
    meters = [meter() for _ in range(3)]
    for number, one in enumerate(meters):
        company.enter("a", one, number / 10)
    assert not any(one.has_company for one in meters)


def test_running_queries_of_others_leave_a_core_when_somebody_asks():
    company, big, small, own = Company(), meter(), meter(), meter()
    company.enter("big", big, 0.0)
    company.enter("small", small, 5.0)
    company.enter("small", own, 5.1)
    assert big.has_company
    assert not own.has_company


def test_queries_that_ended_are_not_told():
    company, ended, small = Company(), meter(), meter()
    company.enter("big", ended, 0.0)
    company.leave(ended)
    company.enter("small", small, 0.1)
    assert not ended.has_company


def test_what_begins_soon_after_another_tenants_question_leaves_a_core_too():
    company = Company()
    company.enter("small", meter(), 10.0)
    soon, later = meter(), meter()
    company.enter("big", soon, 10.0 + COMPANY_SECONDS / 2)
    company.enter("big", later, 10.0 + COMPANY_SECONDS)
    assert (soon.has_company, later.has_company) == (True, False)
