import Foundation

/// How much is compared: `IOMMULENS_TABLES` tables, or some thousand.
enum Amount {
  private static let wanted = ProcessInfo.processInfo.environment["IOMMULENS_TABLES"].flatMap { Int($0) }
  static let tables = wanted ?? 4000

  /// Says what was compared with what in a run that somebody asked for.
  static func report(_ what: String, _ tables: Int, _ kinds: [String: Int]) {
    guard wanted != nil else { return }
    let total = kinds.values.reduce(0, +)
    let parts = kinds.sorted { $0.value > $1.value }.map { "\($0.value) \($0.key)" }
    print("\(what): \(tables) tables, \(total) accesses: \(parts.joined(separator: ", "))")
  }
}
