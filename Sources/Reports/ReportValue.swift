/// A part of a report, as all its forms see it: JSON writes it down, a template shows it, CSV takes rows from it.
///
/// The names in it are those of `docs/report-schema.json`.
enum ReportValue {
  /// Named parts, in the order in which they are told.
  case object([(name: String, value: ReportValue)])
  /// Parts of one kind.
  case list(ReportList)
  /// A sentence, or words of one.
  case sentence(String)
  /// A name, a line of a log: what has to be shown as it is.
  case literal(String)
  /// An address, or the bits of a register.
  case word(UInt64)
  /// A whole number.
  case integer(Int64)
  /// Yes or no.
  case flag(Bool)
  /// Markup that was made here and holds no word from outside.
  case markup(String)
  /// Not known, or nothing to say.
  case nothing
}

extension ReportValue {
  /// The sentence, if there is one.
  static func text(_ text: String?) -> ReportValue { text.map(Self.sentence) ?? .nothing }
  /// The name, if there is one.
  static func code(_ text: String?) -> ReportValue { text.map(Self.literal) ?? .nothing }
  /// The bits, if there are any.
  static func bits(_ bits: UInt64?) -> ReportValue { bits.map(Self.word) ?? .nothing }
  /// The number, if there is one. A count that is no count of anything is the largest number there is.
  static func number(_ number: (some BinaryInteger)?) -> ReportValue {
    number.map { .integer(Int64(clamping: $0)) } ?? .nothing
  }
  /// Sentences.
  static func texts(_ texts: [String]) -> ReportValue { .list(ReportList(texts) { .sentence($0) }) }
}

/// Parts of one kind, made when they are looked at: there may be a hundred thousand.
struct ReportList {
  /// How many there are.
  let count: Int
  /// How many a reader is shown.
  let shown: Int
  private let element: (Int) -> ReportValue

  /// What `make` makes of each of `items`, of which a reader is shown the first `limit`.
  init<Items: RandomAccessCollection>(_ items: Items, limit: Int = 50, _ make: @escaping (Items.Element) -> ReportValue)
  {
    count = items.count
    shown = min(count, limit)
    element = { make(items[items.index(items.startIndex, offsetBy: $0)]) }
  }

  /// Part `position`, which must be less than ``count``.
  subscript(position: Int) -> ReportValue { element(position) }
}
