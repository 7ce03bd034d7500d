-- How the optics of each box went from day to day: of the figures in its `stats`, which say how far each is from its baseline,
-- the mean of what it said on a day. Kept by the statement that keeps what it said last, whichever watcher runs it, and for ever.
CREATE TABLE optics_days (
    device_id text NOT NULL,
    figure text NOT NULL,
    day date NOT NULL,
    mean double precision NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (device_id, figure, day)
);

CREATE FUNCTION keep_optics() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO optics_days AS d (device_id, figure, day, mean, n)
    SELECT NEW.device_id, f.key, (NEW.received_at AT TIME ZONE 'UTC')::date, number_of(f.value), 1
    FROM jsonb_each(object_of(NEW.payload -> 'optics')) f
    WHERE f.key ~ '^[a-z_]{1,32}$' AND number_of(f.value) BETWEEN -1e6 AND 1e6 ORDER BY f.key LIMIT 32
    ON CONFLICT (device_id, figure, day) DO UPDATE SET mean = d.mean + (EXCLUDED.mean - d.mean) / (d.n + 1), n = d.n + 1;
    -- A figure without a value has lost its baseline: its days were measured against another one.
    DELETE FROM optics_days d USING jsonb_each(object_of(NEW.payload -> 'optics')) f
    WHERE d.device_id = NEW.device_id AND d.figure = f.key AND f.value = 'null'::jsonb;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_optics AFTER INSERT ON latest FOR EACH ROW WHEN (NEW.topic = 'stats') EXECUTE FUNCTION keep_optics();
-- A retained message that comes again says nothing new.
CREATE TRIGGER keep_optics_again AFTER UPDATE ON latest FOR EACH ROW
    WHEN (NEW.topic = 'stats' AND NEW.payload IS DISTINCT FROM OLD.payload) EXECUTE FUNCTION keep_optics();

REVOKE EXECUTE ON FUNCTION keep_optics FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON optics_days TO holonode_watcher;
GRANT SELECT ON optics_days TO holonode_reader;
