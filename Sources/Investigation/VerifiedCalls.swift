/// Calls with what was found right after each, in order, without copies of either: a million of them are in several lists.
struct VerifiedCalls: RandomAccessCollection, Sendable {
  typealias Element = (call: RecordedCall, verification: Verification)

  private struct Link {
    let call: UInt32, verification: UInt32
  }

  private let calls: [RecordedCall]
  private let found: [Verification]
  private var links: [Link] = []

  /// Those of `calls` that were verified.
  init(_ calls: [RecordedCall], _ verifications: Verifications) {
    (self.calls, found) = (calls, verifications.distinct)
    links.reserveCapacity(verifications.count)
    var next = 0
    for position in calls.indices {
      guard let id = calls[position].id, let kind = verifications.kind(of: id, from: &next) else { continue }
      links.append(Link(call: UInt32(truncatingIfNeeded: position), verification: kind))
    }
  }

  /// These calls.
  init(_ verified: some Sequence<Element>) {
    let verified = Array(verified)
    (calls, found) = (verified.map(\.call), verified.map(\.verification))
    links = verified.indices.map {
      Link(call: UInt32(truncatingIfNeeded: $0), verification: UInt32(truncatingIfNeeded: $0))
    }
  }

  var startIndex: Int { 0 }
  var endIndex: Int { links.count }
  subscript(position: Int) -> Element {
    let link = links[position]
    return (calls[Int(link.call)], found[Int(link.verification)])
  }

  /// What was found after them.
  var verifications: some Collection<Verification> { links.lazy.map { [found] in found[Int($0.verification)] } }

  /// Those for whose verification `isIncluded` holds.
  func filter(byVerification isIncluded: (Verification) throws -> Bool) rethrows -> VerifiedCalls {
    var chosen = self
    chosen.links = try links.filter { try isIncluded(found[Int($0.verification)]) }
    return chosen
  }

  /// Those for which `isIncluded` holds.
  func filter(_ isIncluded: (Element) throws -> Bool) rethrows -> VerifiedCalls {
    var chosen = self
    chosen.links = []
    for position in indices where try isIncluded(self[position]) { chosen.links.append(links[position]) }
    return chosen
  }
}
