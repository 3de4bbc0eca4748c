import GRDB

// What an investigation's file consists of.

extension InvestigationStore {
  /// What makes each version of the schema out of the one before it. Files of every version are about: a step that was
  /// released never changes.
  static let schema = [
    """
    CREATE TABLE session(id INTEGER PRIMARY KEY, side TEXT NOT NULL, process INTEGER NOT NULL, started TEXT NOT NULL);
    CREATE TABLE event(id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session(id), sequence INTEGER NOT NULL,
                       monotonic_ns INTEGER NOT NULL, kind TEXT NOT NULL);
    CREATE TABLE call(event INTEGER PRIMARY KEY REFERENCES event(id), kind TEXT NOT NULL, number INTEGER NOT NULL,
                      function TEXT NOT NULL, domain INTEGER NOT NULL, iova INTEGER NOT NULL, length INTEGER NOT NULL,
                      page_size INTEGER, page_count INTEGER, target INTEGER, prot INTEGER, gfp INTEGER,
                      requester INTEGER, root INTEGER, mode TEXT);
    CREATE UNIQUE INDEX call_number ON call(kind, number);
    CREATE TABLE caller(call INTEGER NOT NULL REFERENCES event(id), depth INTEGER NOT NULL, function TEXT NOT NULL,
                        PRIMARY KEY(call, depth)) WITHOUT ROWID;
    CREATE TABLE verification(event INTEGER PRIMARY KEY REFERENCES event(id), call INTEGER NOT NULL REFERENCES event(id),
                              leaves INTEGER NOT NULL, agreeing INTEGER NOT NULL, verdict TEXT NOT NULL, level INTEGER,
                              found INTEGER, detail TEXT NOT NULL, iova INTEGER, shifts TEXT NOT NULL);
    CREATE TABLE fact(event INTEGER PRIMARY KEY REFERENCES event(id), name TEXT NOT NULL, value TEXT NOT NULL);
    CREATE TABLE register(event INTEGER NOT NULL REFERENCES event(id), offset INTEGER NOT NULL, value INTEGER NOT NULL,
                          PRIMARY KEY(event, offset)) WITHOUT ROWID;
    CREATE TABLE note(event INTEGER PRIMARY KEY REFERENCES event(id), text TEXT NOT NULL);
    CREATE TABLE snapshot(event INTEGER PRIMARY KEY REFERENCES event(id), reason TEXT NOT NULL);
    CREATE TABLE page(id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, bytes BLOB NOT NULL);
    CREATE INDEX page_hash ON page(hash);
    CREATE TABLE snapshot_page(snapshot INTEGER NOT NULL REFERENCES event(id), address INTEGER NOT NULL,
                               page INTEGER NOT NULL REFERENCES page(id), PRIMARY KEY(snapshot, address)) WITHOUT ROWID;
    """,
    """
    CREATE TABLE translation(event INTEGER PRIMARY KEY REFERENCES event(id), requester INTEGER, iova INTEGER NOT NULL,
                             count INTEGER NOT NULL, stride INTEGER NOT NULL, access INTEGER, answer_address INTEGER,
                             answer_mask INTEGER, answer_access INTEGER, before BLOB NOT NULL, after BLOB NOT NULL,
                             device TEXT, operation TEXT, path TEXT, length INTEGER);
    CREATE TABLE kernel_state(event INTEGER PRIMARY KEY REFERENCES event(id), state TEXT NOT NULL);
    CREATE TABLE log(event INTEGER PRIMARY KEY REFERENCES event(id), origin TEXT NOT NULL, line INTEGER NOT NULL,
                     time_ns INTEGER, text TEXT NOT NULL, meaning TEXT NOT NULL, UNIQUE(origin, line, text));
    CREATE TABLE cookie(event INTEGER PRIMARY KEY REFERENCES event(id), domain INTEGER NOT NULL, held INTEGER NOT NULL,
                        callers TEXT NOT NULL);
    ALTER TABLE call ADD COLUMN origin TEXT;
    ALTER TABLE verification ADD COLUMN samples TEXT NOT NULL DEFAULT '';
    """,
    // The index was for the next call's number alone, and about a quarter of what storing a call cost.
    """
    DROP INDEX call_number;
    """,
    views,
  ]
}
