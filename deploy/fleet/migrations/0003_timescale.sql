-- Where TimescaleDB is installed in this database, records become a hypertable, a chunk for each week in which they came.
-- They are cut by received_at, which never changes: a correction of `at` stays within its chunk.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        EXECUTE format(
            'SELECT %s.create_hypertable(%L::regclass, %L::name, chunk_time_interval => interval %L, migrate_data => true)',
            (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'timescaledb'),
            'holonode.records', 'received_at', '7 days'
        );
    END IF;
END
$$;
