extension InvestigationStore {
  /// The views for people who ask a file with SQL; `docs/investigation-file.md` documents them. They belong to schema 4, so
  /// that a change of theirs is a new step of the schema.
  static let views = """
    CREATE VIEW calls AS
      SELECT call.event, session.side, event.monotonic_ns, call.kind, call.number, call.function,
             printf('0x%x', call.domain) AS domain, call.iova, call.length, call.page_size, call.page_count, call.target,
             call.prot, call.gfp, \(requester("call")) AS requester, call.root, call.mode, call.origin,
             found.verdict, found.level, found.leaves AS pages_checked, found.agreeing AS pages_right
      FROM call JOIN event ON event.id = call.event JOIN session ON session.id = event.session
      LEFT JOIN (SELECT call, max(event), verdict, level, leaves, agreeing FROM verification GROUP BY call) AS found
        ON found.call = call.event;
    CREATE VIEW translations AS
      SELECT translation.event, session.side, event.monotonic_ns, \(requester("translation")) AS requester,
             translation.iova, translation.count, translation.stride, \(access("access")) AS access,
             translation.answer_address AS target, translation.answer_mask AS mask,
             \(access("answer_access")) AS permission, translation.answer_access = 0 AS refused,
             translation.device, translation.operation, translation.path, translation.length
      FROM translation JOIN event ON event.id = translation.event JOIN session ON session.id = event.session;
    """

  /// A requester id as the kernel prints it, `0000:00:01.0`; NULL for none.
  private static func requester(_ table: String) -> String {
    """
    CASE WHEN \(table).requester IS NOT NULL THEN printf('%04x:%02x:%02x.%x', \(table).requester >> 16,
      \(table).requester >> 8 & 255, \(table).requester >> 3 & 31, \(table).requester & 7) END
    """
  }

  /// An access in words.
  private static func access(_ column: String) -> String {
    "CASE translation.\(column) WHEN 0 THEN 'none' WHEN 1 THEN 'read' WHEN 2 THEN 'write' "
      + "WHEN 3 THEN 'read and write' END"
  }
}
