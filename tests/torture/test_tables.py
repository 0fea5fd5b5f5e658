"""A small share of the tables that `make torture` writes and reads."""

from torture.tables import tables


def test_tables_are_read_as_they_stand_or_refused(tmp_path):
    assert tables(tmp_path, csv_count=400, parquet_count=60, seed=1).bad == []
