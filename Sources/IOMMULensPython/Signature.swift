/// A function's name and parameters, read from the text that `help()` shows: `walk(iova, device=None, *, quirks=True)`.
///
/// A default is for the reader only, so it must not contain a comma.
struct Signature {
  /// One parameter.
  struct Parameter {
    let name: String
    let isRequired: Bool
    let isKeywordOnly: Bool
  }

  /// The function's name.
  let name: String
  /// What stands between the parentheses.
  let parameterText: String
  /// The parameters in order.
  let parameters: [Parameter]
  /// How many of them a call may pass by position.
  let positionalCount: Int

  /// Reads a signature.
  init(_ text: String) {
    let parts = text.split(separator: "(", maxSplits: 1, omittingEmptySubsequences: false)
    name = String(parts[0])
    parameterText = parts.count == 2 ? String(parts[1].prefix { $0 != ")" }) : ""
    var parameters: [Parameter] = []
    var isKeywordOnly = false
    for part in parameterText.split(separator: ",") {
      let declaration = part.drop { $0 == " " }
      if declaration == "*" {
        isKeywordOnly = true
        continue
      }
      let name = declaration.prefix { $0 != "=" }
      parameters.append(
        Parameter(name: String(name), isRequired: name == declaration, isKeywordOnly: isKeywordOnly))
    }
    self.parameters = parameters
    positionalCount = parameters.count { !$0.isKeywordOnly }
  }

  /// The signature in `text`, read once per literal.
  static func cached(_ text: StaticString) -> Signature {
    guard text.hasPointerRepresentation else { return Signature("\(text)") }
    if let known = cache[text.utf8Start] { return known }
    let signature = Signature("\(text)")
    cache[text.utf8Start] = signature
    return signature
  }

  nonisolated(unsafe) private static var cache: [UnsafePointer<UInt8>: Signature] = [:]
}
