import IOMMUModel
import PageTables

/// An answer for programs: what ``Terminal`` says in words, as values with names.
///
/// The names are those of `docs/json.md`, and stay. Addresses, entries, masks and register values are ``address(_:)``:
/// hexadecimal text, because a program that reads JSON numbers as doubles would lose bits of them.
public indirect enum Structured: Sendable {
  /// Not known, or not there.
  case null
  /// True or false.
  case bool(Bool)
  /// A count, a level, a number of bytes.
  case number(Int)
  /// 64 bits that are no quantity.
  case address(UInt64)
  /// Text.
  case text(String)
  /// Several of a kind.
  case list([Structured])
  /// Values by name, in this order.
  case object([(name: String, value: Structured)])

  /// The version of the names and their meaning. A new name does not change it; another meaning does.
  public static let schema = 1

  /// The answer of a command, with `fields` in it.
  static func answer(_ command: String, _ fields: Structured) -> Structured {
    var all: [(name: String, value: Structured)] = [("command", .text(command)), ("schema", .number(schema))]
    if case .object(let fields) = fields { all += fields }
    return .object(all)
  }

  /// The fields of this object and those of `other`.
  func with(_ other: Structured) -> Structured {
    guard case .object(let own) = self, case .object(let more) = other else { return self }
    return .object(own + more)
  }
}

extension Structured: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByStringInterpolation, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  /// Not known.
  public init(nilLiteral: ()) { self = .null }
  /// True or false.
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  /// A number.
  public init(integerLiteral value: Int) { self = .number(value) }
  /// Text.
  public init(stringLiteral value: String) { self = .text(value) }
  /// A list.
  public init(arrayLiteral elements: Structured...) { self = .list(elements) }
  /// An object.
  public init(dictionaryLiteral elements: (String, Structured)...) { self = .object(elements.map { ($0.0, $0.1) }) }

  init(_ value: some StructuredConvertible) { self = value.structured }

  /// A number of bytes or pages.
  init(bytes: UInt64) { self = .number(Int(clamping: bytes)) }
}

/// A type with a natural form in an answer.
protocol StructuredConvertible {
  var structured: Structured { get }
}

extension Structured: StructuredConvertible { var structured: Structured { self } }
extension Bool: StructuredConvertible { var structured: Structured { .bool(self) } }
extension Int: StructuredConvertible { var structured: Structured { .number(self) } }
extension String: StructuredConvertible { var structured: Structured { .text(self) } }
extension UInt64: StructuredConvertible { var structured: Structured { .address(self) } }
extension IOVA: StructuredConvertible { var structured: Structured { .address(rawValue) } }
extension GPA: StructuredConvertible { var structured: Structured { .address(rawValue) } }
extension KVA: StructuredConvertible { var structured: Structured { .address(rawValue) } }
extension RequesterID: StructuredConvertible { var structured: Structured { .text(description) } }

extension Optional: StructuredConvertible where Wrapped: StructuredConvertible {
  var structured: Structured { map(\.structured) ?? .null }
}

extension Array: StructuredConvertible where Element: StructuredConvertible {
  var structured: Structured { .list(map(\.structured)) }
}
