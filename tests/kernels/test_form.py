"""Forms against the standard library's parser."""

from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from orrery.kernels.form import parse_form

pieces = st.sampled_from(["a", "=", "&", "+", "%", "%2", "%26", "%3d", "%C3%A9", "%ff", "é", " "])


@given(st.lists(pieces, max_size=12).map("".join))
def test_forms_read_as_the_standard_library_reads_them(text):
    assert parse_form(text) == parse_qsl(text, keep_blank_values=True)
