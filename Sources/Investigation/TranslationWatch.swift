public import IOMMUModel
public import PageTables

/// A stretch of an investigation in which the device's translations were recorded.
///
/// A session on QEMU's side, and one that follows QEMU's log, notes in the file what it records from now on; only by that can be
/// told what a device did not ask for. What texts tell of translations is never known to be complete.
public struct TranslationWatch: Hashable, Sendable {
  /// Which translations: those in a range, those of a requester; nil for any.
  public struct Scope: Hashable, Sendable {
    let iovas: ClosedRange<IOVA>?
    let requester: RequesterID?

    /// A scope.
    public init(iovas: ClosedRange<IOVA>? = nil, requester: RequesterID? = nil) {
      (self.iovas, self.requester) = (iovas, requester)
    }

    /// Whether a translation is in it.
    public func covers(_ iova: IOVA, _ requester: RequesterID?) -> Bool {
      iovas?.contains(iova) ?? true && (self.requester == nil || self.requester == requester)
    }
  }

  /// The event from which on they were recorded, and the last one that the session is known to have seen.
  let first: EventID, last: EventID
  /// What was recorded; one of them sufficed.
  let scopes: [Scope]

  /// A stretch.
  public init(first: EventID, last: EventID, scopes: [Scope]) {
    (self.first, self.last, self.scopes) = (first, last, scopes)
  }
}

extension TranslationWatch.Scope {
  /// `all`, `0xfffff000-0xffffffff`, `all of 0000:00:01.0`.
  private var stored: String {
    let range = iovas.map { "\($0.lowerBound)-\($0.upperBound)" } ?? "all"
    return requester.map { "\(range) of \($0)" } ?? range
  }

  private init?(stored: Substring) {
    let words = stored.split(separator: " ")
    var requester: RequesterID?
    if words.count == 3, words[1] == "of" {
      guard let named = RequesterID(bdf: words[2]) else { return nil }
      requester = named
    } else if words.count != 1 {
      return nil
    }
    if words[0] == "all" {
      self.init(requester: requester)
      return
    }
    let ends = words[0].split(separator: "-").map { $0.hasPrefix("0x") ? UInt64($0.dropFirst(2), radix: 16) : nil }
    guard ends.count == 2, let first = ends[0], let last = ends[1], first <= last else { return nil }
    self.init(iovas: IOVA(first)...IOVA(last), requester: requester)
  }

  /// Scopes as an investigation file keeps them; `none` for no scope.
  static func stored(_ scopes: [Self]) -> String {
    scopes.isEmpty ? "none" : scopes.map(\.stored).joined(separator: "; ")
  }

  /// The scopes in that form; what is none is left out, so that nothing is concluded from it.
  static func scopes(stored: String) -> [Self] { stored.split(separator: ";").compactMap(Self.init(stored:)) }
}

extension Fact {
  /// Which translations a session records from then on.
  static let translationsRecorded = "translations recorded"
}
