#include "Baselines.h"

#include <sqlite3.h>

static const char schema[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
    "CREATE TABLE event(id INTEGER PRIMARY KEY, session INTEGER NOT NULL, sequence INTEGER NOT NULL,"
    "                   monotonic_ns INTEGER NOT NULL, kind TEXT NOT NULL);"
    "CREATE TABLE call(event INTEGER PRIMARY KEY, kind TEXT NOT NULL, number INTEGER NOT NULL, function TEXT NOT NULL,"
    "                  domain INTEGER NOT NULL, iova INTEGER NOT NULL, length INTEGER NOT NULL, page_size INTEGER,"
    "                  page_count INTEGER, target INTEGER, prot INTEGER, gfp INTEGER, requester INTEGER, root INTEGER,"
    "                  mode TEXT, origin TEXT);";

// The statements of a file that is open.
struct store {
  sqlite3 *file;
  sqlite3_stmt *begin, *event, *call, *commit;
};

static int prepare(struct store *store, const char *sql, sqlite3_stmt **statement) {
  return sqlite3_prepare_v3(store->file, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
}

static int step(sqlite3_stmt *statement) {
  int status = sqlite3_step(statement);
  sqlite3_reset(statement);
  return status == SQLITE_DONE ? SQLITE_OK : status;
}

static int insert(struct store *store, int number) {
  sqlite3_bind_int64(store->event, 1, number);
  sqlite3_bind_int64(store->event, 2, 1);
  sqlite3_bind_int64(store->event, 3, number);
  sqlite3_bind_int64(store->event, 4, 1000000000ll * number);
  sqlite3_bind_text(store->event, 5, "map", 3, SQLITE_STATIC);
  int status = step(store->event);
  if (status != SQLITE_OK) return status;
  const sqlite3_int64 values[] = {-0x5ffff8000000, 0xfffff000ll - 4096ll * number, 4096, 4096, 1,
                                  0x106172000 + 4096ll * number, 7, 0xdc0, 8, 0x80b82000};
  sqlite3_bind_int64(store->call, 1, number);
  sqlite3_bind_text(store->call, 2, "map", 3, SQLITE_STATIC);
  sqlite3_bind_int64(store->call, 3, number);
  sqlite3_bind_text(store->call, 4, "xt_iommu_map", 12, SQLITE_STATIC);
  for (int place = 0; place < 10; place++) sqlite3_bind_int64(store->call, 5 + place, values[place]);
  sqlite3_bind_text(store->call, 15, "sv39", 4, SQLITE_STATIC);
  return step(store->call);
}

static int fill(struct store *store, int count, int each_alone) {
  int status = sqlite3_exec(store->file, schema, NULL, NULL, NULL);
  if (status == SQLITE_OK) status = prepare(store, "BEGIN IMMEDIATE", &store->begin);
  if (status == SQLITE_OK) status = prepare(store, "INSERT INTO event VALUES (?, ?, ?, ?, ?)", &store->event);
  if (status == SQLITE_OK)
    status = prepare(store, "INSERT INTO call VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", &store->call);
  if (status == SQLITE_OK) status = prepare(store, "COMMIT", &store->commit);
  for (int number = 1; status == SQLITE_OK && number <= count; number++) {
    if (each_alone || number == 1) status = step(store->begin);
    if (status == SQLITE_OK) status = insert(store, number);
    if (status == SQLITE_OK && (each_alone || number == count)) status = step(store->commit);
  }
  return status;
}

int baseline_store(const char *path, int count, int each_alone) {
  struct store store = {0};
  int status = sqlite3_open(path, &store.file);
  if (status == SQLITE_OK) status = fill(&store, count, each_alone);
  sqlite3_finalize(store.begin);
  sqlite3_finalize(store.event);
  sqlite3_finalize(store.call);
  sqlite3_finalize(store.commit);
  sqlite3_close(store.file);
  return status;
}
