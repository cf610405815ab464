import pytest

from orrery.errors import Corrupt, Exhausted
from orrery.settings import Limits
from orrery.tenancy.day_counts import NAME, DayCounts
from tests.tenancy.parts import Parts


def parts_and_counts(**more):
    parts = Parts(defaults=Limits(samples_per_day=100), **more)
    return parts, DayCounts(objects=parts.objects, admission=parts.admission)


def test_restart_does_not_give_the_day_anew():
    before, counts = parts_and_counts()
    before.admission.admit("a", 90)
    counts.save()
    after, counts = parts_and_counts(objects=before.objects, clock=before.clock)
    counts.restore()
    after.admission.admit("a", 10)
    with pytest.raises(Exhausted, match="samples_per_day"):
        after.admission.admit("a", 1)


def test_nothing_is_written_while_no_tenant_has_the_limit():
    parts = Parts()
    parts.admission.admit("a", 5)
    DayCounts(objects=parts.objects, admission=parts.admission).save()
    assert parts.objects.contents == {}


def test_nothing_to_restore_is_fine():
    parts, counts = parts_and_counts()
    counts.restore()
    parts.admission.admit("a", 100)


def test_damage_is_named():
    parts, counts = parts_and_counts()
    parts.admission.admit("a", 90)
    counts.save()
    parts.objects.contents[NAME] = parts.objects.contents[NAME].replace(b"90", b"10")
    with pytest.raises(Corrupt, match="usage/day"):
        counts.restore()
