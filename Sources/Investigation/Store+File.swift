import Foundation
import GRDB

// How an investigation's file is opened, and what can be wrong with it.

extension InvestigationStore {
  /// How long to wait for another process that is writing: a large import is one transaction.
  private static let patience = Duration.seconds(60)
  /// How long to pause at most before looking whether it is done: most writers are done sooner.
  private static let longestPause = Duration.milliseconds(20)

  /// Whether to go on waiting, after `pauses` pauses, for another process that is writing.
  private static func waits(_ pauses: Int) -> Bool {
    if waiter?.isGone() ?? false || longestPause * pauses > patience { return false }
    usleep(UInt32(min(.milliseconds(pauses + 1), longestPause) / .microseconds(1)))
    return true
  }

  /// Opens the file at `path`, or makes it; and why nothing can be added to it, if so.
  static func open(_ path: String) throws -> (DatabaseQueue, readOnly: String?) {
    if try isNew(path) { return (try openForWriting(path), nil) }
    if let reason = reasonNotToWrite(path) { return (try openCopy(of: path), reason) }
    do {
      try refuseForeignDatabase(path)
      return (try openForWriting(path), nil)
    } catch let error as DatabaseError where [.SQLITE_FULL, .SQLITE_IOERR].contains(error.resultCode) && isFull(path) {
      // Not even to read: what SQLite writes beside the file needs room.
      return (try openCopy(of: path), "its disk is full")
    }
  }

  /// Whether there is no room beside the file at `path`.
  private static func isFull(_ path: String) -> Bool {
    var disk = statvfs()
    return statvfs(path, &disk) == 0 && disk.f_bavail * UInt(disk.f_frsize) < 1 << 16
  }

  private static func configuration(isReadOnly: Bool = false) -> Configuration {
    var configuration = Configuration()
    configuration.readonly = isReadOnly
    configuration.busyMode = .callback { waits($0) }
    configuration.label = "investigation"
    configuration.prepareDatabase { db in
      // For files of strangers: nothing in a schema may call what has effects, and a page is looked at before it is used.
      try db.execute(sql: "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")
    }
    return configuration
  }

  /// The name that SQLite takes for this file, and not for a URI.
  private static func fileName(_ path: String) -> String { path.hasPrefix("file:") ? "./" + path : path }

  private static func openForWriting(_ path: String) throws -> DatabaseQueue {
    let database = try DatabaseQueue(path: fileName(path), configuration: configuration())
    try setWriteAhead(database)
    try database.write { try prepare($0, path: path) }
    return database
  }

  /// Opens a copy of the file and its log that is gone with this process: even to read a file, SQLite writes beside it, and
  /// one of an older version has to be carried over.
  private static func openCopy(of path: String) throws -> DatabaseQueue {
    var template = Array("\(NSTemporaryDirectory())/iommulens-XXXXXX".utf8CString)
    let failure = InvestigationError(
      "\(path) cannot be read: there is no room for a copy of it in \(NSTemporaryDirectory()).")
    guard mkdtemp(&template) != nil else { throw failure }
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    // What SQLite has open by then stays readable.
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let copy = folder + "/copy"
    var before: [FileMoment?] = []
    // A process with more rights may be writing.
    for _ in 0..<10 {
      before = OpenFiles.content.map { FileMoment("\(path)\($0)") }
      for suffix in OpenFiles.content {
        try? FileManager.default.removeItem(atPath: copy + suffix)
        guard exists(at: path + suffix) else { continue }
        do { try FileManager.default.copyItem(atPath: path + suffix, toPath: copy + suffix) } catch { throw failure }
        chmod(copy + suffix, 0o600)
      }
      if before == OpenFiles.content.map({ FileMoment("\(path)\($0)") }) { break }
    }
    let database = try DatabaseQueue(path: copy, configuration: configuration())
    do { _ = try database.read { try storedVersion($0, path: path) } } catch { throw refusal(error, path: path) }
    try setWriteAhead(database)
    try database.write { try prepare($0, path: path) }
    return database
  }

  /// Whether there is nothing at `path` yet; throws when it cannot become an investigation.
  private static func isNew(_ path: String) throws -> Bool {
    // For these SQLite would make a database that is gone with the process.
    if ["", ":memory:"].contains(path) { throw InvestigationError("'\(path)' is not the name of a file.") }
    if isLinkInSharedFolder(path) {
      throw InvestigationError(
        "\(path) is a link in a folder that everybody may write to, and is not followed. Name the file that it leads to."
      )
    }
    var status = stat()
    guard stat(path, &status) == 0 else {
      let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
      if access(folder, F_OK) != 0 { throw InvestigationError("\(path) cannot be made: there is no folder \(folder).") }
      return true
    }
    if status.st_mode & S_IFMT == S_IFDIR {
      throw InvestigationError("\(path) is a directory, not an investigation file.")
    }
    if status.st_mode & S_IFMT != S_IFREG { throw InvestigationError("\(path) is a device or a pipe, not a file.") }
    if status.st_size == 0 { return true }
    if faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) != 0 {
      throw InvestigationError("\(path) cannot be read: check its permissions.")
    }
    return false
  }

  /// Why the file at `path` cannot be written; nil when it can.
  private static func reasonNotToWrite(_ path: String) -> String? {
    let file = URL(fileURLWithPath: path).resolvingSymlinksInPath()
    for (place, name) in [(file, "the file"), (file.deletingLastPathComponent(), "its folder")]
    where faccessat(AT_FDCWD, place.path, W_OK, AT_EACCESS) != 0 {
      return errno == EROFS ? "its file system is" : "\(name) may not be written"
    }
    return nil
  }

  /// What is not an investigation must not be touched. Asked without write permission for SQLite: switching to the
  /// write-ahead log already changes a file.
  private static func refuseForeignDatabase(_ path: String) throws {
    do {
      let database = try DatabaseQueue(path: fileName(path), configuration: configuration(isReadOnly: true))
      _ = try database.read { try storedVersion($0, path: path) }
      try database.close()
    } catch { throw refusal(error, path: path) }
  }

  /// The error for a file that SQLite does not read: damage, where it begins as a database does. Looked at only now: to
  /// close a file drops all the locks that this process has on it (fcntl).
  private static func refusal(_ error: any Error, path: String) -> any Error {
    guard let error = error as? DatabaseError, error.resultCode == .SQLITE_NOTADB else { return error }
    let start = try? FileHandle(forReadingFrom: URL(fileURLWithPath: path)).read(upToCount: 16)
    if start == Data("SQLite format 3\0".utf8) { return error }
    return InvestigationError("\(path) is not an investigation file; it was left as it is. Choose another name.")
  }

  /// Write-ahead log, synchronized at checkpoints: a killed process loses nothing, and an event costs no disk flush.
  private static func setWriteAhead(_ database: DatabaseQueue) throws {
    // The switch does not wait for other processes by itself.
    var pauses = 0
    while true {
      do {
        try database.writeWithoutTransaction { db in
          _ = try String.fetchOne(db, sql: "PRAGMA journal_mode = WAL")
          try db.execute(sql: "PRAGMA synchronous = NORMAL")
        }
        return
      } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY && waits(pauses) {
        pauses += 1
      }
    }
  }

  /// The schema in the file, 0 before there is one; throws for a database that is something else or newer.
  private static func storedVersion(_ db: Database, path: String) throws -> Int {
    let application = try Int.fetchOne(db, sql: "PRAGMA application_id") ?? 0
    let version = try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0
    let tables = try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") ?? 0
    if application != applicationID && (tables > 0 || application != 0 || version != 0) {
      throw InvestigationError(
        "\(path) is an SQLite database, but not an investigation; it was left as it is. Choose another name.")
    }
    if version < 0 { throw Damage(what: "its schema has the number \(version)") }
    if version > schemaVersion {
      throw InvestigationError(
        "\(path) was written by a newer IOMMULens (schema \(version), this one reads up to \(schemaVersion)). "
          + "Update IOMMULens to open it.")
    }
    try refuseForeignObjects(db, version: version, path: path)
    return version
  }

  /// Refuses a schema with anything in it that no version of ours makes: a trigger, or a view in place of a table, runs in
  /// every program that opens the file, where it can change what is recorded, or never end.
  private static func refuseForeignObjects(_ db: Database, version: Int, path: String) throws {
    let ours = try DatabaseQueue().write { db in
      // With the tables in which somebody's ANALYZE keeps what it found.
      for step in schema[..<version] + ["ANALYZE"] { try db.execute(sql: step) }
      return try objects(db)
    }
    guard let foreign = try objects(db).first(where: { !ours.contains($0) }) else { return }
    let (kind, name) = (foreign[0], foreign[1])
    let isAltered = ours.contains { $0[..<2] == foreign[..<2] }
    throw InvestigationError(
      "\(path) was made or changed by something else: the \(kind) '\(printable(String(name.prefix(40))))' in it is "
        + "\(isAltered ? "not as IOMMULens makes it" : "none that IOMMULens makes"). The file was left as it is; "
        + "ask for a report of it instead (`iommu export`).")
  }

  /// What a schema consists of: kind, name, and text.
  private static func objects(_ db: Database) throws -> [[String]] {
    try Row.fetchAll(db, sql: "SELECT type, name, coalesce(sql, '') AS text FROM sqlite_master").map {
      [try $0.value("type"), try $0.value("name"), try $0.value("text")]
    }
  }

  private static func prepare(_ db: Database, path: String) throws {
    let version = try storedVersion(db, path: path)
    if version == schemaVersion { return }
    for step in schema[version...] { try db.execute(sql: step) }
    try db.execute(sql: "PRAGMA application_id = \(applicationID); PRAGMA user_version = \(schemaVersion)")
  }

  static func failure(_ error: any Error, path: String) -> InvestigationError {
    switch error {
    case let error as InvestigationError: return error
    case is RowDecodingError: return InvestigationError("\(path) is damaged: a value is missing or of the wrong type.")
    // What the file says is somebody else's text, of any length.
    case let damage as Damage:
      return InvestigationError("\(path) is damaged: \(printable(String(damage.what.prefix(200)))).")
    case let error as DatabaseError:
      let why = printable(String((error.message ?? "SQLite error \(error.resultCode.rawValue)").prefix(200)))
      switch error.resultCode {
      case .SQLITE_CANTOPEN, .SQLITE_READONLY, .SQLITE_PERM:
        return InvestigationError("\(path) cannot be used: \(why). The file and its folder must be writable.")
      case .SQLITE_FULL:
        return InvestigationError(
          "\(path) cannot be written: the disk is full. What was recorded before is in it; make room to go on.")
      case .SQLITE_BUSY:
        return InvestigationError(
          "\(path) cannot be written: another program has been writing to it for \(patience.components.seconds) seconds. "
            + "Try again.")
      case .SQLITE_CORRUPT:
        return InvestigationError("\(path) is damaged: \(why). `sqlite3 \(path) .recover` reads what is left of it.")
      default: return InvestigationError("\(path) cannot be used: \(why).")
      }
    default: return InvestigationError("\(path) cannot be used: \(error).")
    }
  }
}

/// Which file a name stands for.
struct FileIdentity: Hashable {
  let device: dev_t, inode: ino_t

  /// The file at `path`; nil when there is none.
  init?(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    (device, inode) = (status.st_dev, status.st_ino)
  }
}

/// When a file was changed last.
private struct FileMoment: Hashable {
  let size: off_t, seconds: time_t, nanoseconds: Int

  init?(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    (size, seconds, nanoseconds) = (status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
  }
}

/// The files that SQLite has open for an investigation. It goes on with them when they are deleted or replaced, and nobody
/// finds again what it writes.
struct OpenFiles {
  /// What follows the file's name in those with content.
  static let content = ["", "-wal"]

  private let files: [(path: String, identity: FileIdentity)]

  /// The files of the investigation at `path`, which is open.
  init(of path: String) {
    // The folder that the name is relative to may change, and SQLite follows links.
    let file = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
    files = (Self.content + ["-shm"]).compactMap { suffix in
      FileIdentity(file + suffix).map { (file + suffix, $0) }
    }
  }

  /// The investigation's file itself.
  var main: FileIdentity? { files.first?.identity }

  /// The first that was deleted or replaced since; nil when all are as they were.
  var lost: (path: String, isReplaced: Bool)? {
    for (path, identity) in files {
      let now = FileIdentity(path)
      if now != identity { return (path, now != nil) }
    }
    return nil
  }

  /// A name for a copy: beside the file, or where its folder is gone, among the temporary files.
  var copyName: String {
    let file = URL(fileURLWithPath: files.first?.path ?? "investigation")
    let own = file.deletingLastPathComponent().path
    let folder = access(own, W_OK) == 0 ? own : NSTemporaryDirectory()
    let stem = "\(folder)/\(file.deletingPathExtension().lastPathComponent)-recovered"
    var (name, number) = ("\(stem).iommulens", 1)
    while InvestigationStore.exists(at: name) {
      number += 1
      name = "\(stem)-\(number).iommulens"
    }
    return name
  }
}
