-- Groups without a login; what may be done is given to them, who may log in is put into them by the keeper of the database.
-- Roles belong to the whole cluster: another database of it may have made them.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'holonode_collector') THEN
        CREATE ROLE holonode_collector NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'holonode_reader') THEN
        CREATE ROLE holonode_reader NOLOGIN;
    END IF;
END
$$;

REVOKE ALL ON SCHEMA holonode FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION contiguous_to FROM PUBLIC;
GRANT USAGE ON SCHEMA holonode TO holonode_collector, holonode_reader;
-- A collector adds and corrects, and can delete nothing.
GRANT SELECT, INSERT, UPDATE (at, synchronised) ON received TO holonode_collector;
GRANT SELECT, INSERT, UPDATE (at, record) ON records TO holonode_collector;
GRANT SELECT, INSERT, UPDATE (committed_to, highest, last_at, last_received_at) ON spools TO holonode_collector;
GRANT SELECT, INSERT, UPDATE (times, last_at) ON rejected TO holonode_collector;
GRANT EXECUTE ON FUNCTION contiguous_to TO holonode_collector;
GRANT SELECT ON migrations TO holonode_collector;
GRANT SELECT ON ALL TABLES IN SCHEMA holonode TO holonode_reader;
