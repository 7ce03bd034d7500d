-- What each box said last of itself, and what a person is told of it.
CREATE TABLE latest (
    device_id text NOT NULL,
    topic text NOT NULL CHECK (topic IN ('status', 'info', 'health', 'stats')),
    payload jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, topic)
);
COMMENT ON TABLE latest IS 'status, info, health and stats of each box as they came last';

CREATE TABLE alarms (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id text NOT NULL,
    rule text NOT NULL,
    subject text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('warning', 'alarm')),
    message text NOT NULL,
    value double precision,
    unit text,
    begun_at timestamptz NOT NULL DEFAULT now(),
    raised_at timestamptz,
    quiet_since timestamptz,
    cleared_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text
);
CREATE UNIQUE INDEX alarms_open ON alarms (device_id, rule, subject) WHERE cleared_at IS NULL;
CREATE INDEX alarms_raised ON alarms (raised_at DESC) WHERE raised_at IS NOT NULL;
COMMENT ON TABLE alarms IS 'conditions that stand, and those that stood; one row each time';

CREATE TABLE silences (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id text,
    rule text,
    until timestamptz NOT NULL,
    by text NOT NULL,
    reason text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE silences IS 'alarms that nobody is told of for a while';

-- One row for each alarm, transition and channel: it can be sent once.
CREATE TABLE alarm_messages (
    alarm_id bigint NOT NULL REFERENCES alarms ON DELETE CASCADE,
    transition text NOT NULL CHECK (transition IN ('raised', 'cleared')),
    channel text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    next_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    PRIMARY KEY (alarm_id, transition, channel)
);
CREATE INDEX alarm_messages_waiting ON alarm_messages (next_at) WHERE sent_at IS NULL;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'holonode_watcher') THEN
        CREATE ROLE holonode_watcher NOLOGIN;
    END IF;
END
$$;
-- A watcher reads the records and keeps the alarms; it can change no record.
GRANT USAGE ON SCHEMA holonode TO holonode_watcher;
GRANT SELECT ON ALL TABLES IN SCHEMA holonode TO holonode_watcher, holonode_reader;
GRANT INSERT, UPDATE ON latest, alarms, silences, alarm_messages TO holonode_watcher;
GRANT DELETE ON alarms, silences TO holonode_watcher;
