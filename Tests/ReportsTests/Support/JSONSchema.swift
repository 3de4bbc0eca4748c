import Foundation

/// A JSON Schema, as far as `docs/report-schema.json` makes use of it; what else a schema has is an error.
struct JSONSchema {
  private let root: [String: Any]

  init(contentsOf file: URL) throws {
    guard let root = try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any] else {
      throw CocoaError(.fileReadCorruptFile)
    }
    self.root = root
  }

  /// What is wrong with `text`, a line each with its place; empty for nothing.
  func problems(of text: String) throws -> [String] {
    var problems: [String] = []
    check(try JSONSerialization.jsonObject(with: Data(text.utf8)), root, "$", &problems)
    return problems
  }

  private func check(_ value: Any, _ schema: [String: Any], _ place: String, _ problems: inout [String]) {
    let known = [
      "$schema", "$id", "$defs", "title", "description", "type", "properties", "required", "additionalProperties",
      "items",
      "anyOf", "enum", "const", "pattern", "$ref",
    ]
    for word in schema.keys where !known.contains(word) {
      problems.append("\(place): the schema's `\(word)` is not known")
    }
    if let name = schema["$ref"] as? String {
      let definitions = root["$defs"] as? [String: [String: Any]]
      guard let definition = definitions?[name.replacing("#/$defs/", with: "")] else {
        return problems.append("\(place): the schema has no \(name)")
      }
      check(value, definition, place, &problems)
    }
    if let choices = schema["anyOf"] as? [[String: Any]] {
      let failures = choices.map { choice in
        var found: [String] = []
        check(value, choice, place, &found)
        return found
      }
      if failures.allSatisfy({ !$0.isEmpty }) { problems += failures.min { $0.count > $1.count } ?? [] }
    }
    if let types = (schema["type"] as? [String]) ?? (schema["type"] as? String).map({ [$0] }),
      !types.contains(where: { Self.is(value, $0) })
    {
      return problems.append("\(place): \(value) is no \(types.joined(separator: " or "))")
    }
    if let constant = schema["const"], !Self.equal(constant, value) { problems.append("\(place): not \(constant)") }
    if let choices = schema["enum"] as? [Any], !choices.contains(where: { Self.equal($0, value) }) {
      problems.append("\(place): \(value) is none of \(choices)")
    }
    if let pattern = schema["pattern"] as? String, let text = value as? String,
      text.range(of: pattern, options: .regularExpression) == nil
    {
      problems.append("\(place): \(text) does not match \(pattern)")
    }
    if let object = value as? [String: Any] {
      let properties = schema["properties"] as? [String: [String: Any]] ?? [:]
      for name in schema["required"] as? [String] ?? [] where object[name] == nil {
        problems.append("\(place): no \(name)")
      }
      for (name, part) in object {
        if let its = properties[name] ?? schema["additionalProperties"] as? [String: Any] {
          check(part, its, "\(place).\(name)", &problems)
        } else if schema["additionalProperties"] as? Bool == false {
          problems.append("\(place): \(name) is not in the schema")
        }
      }
    }
    if let list = value as? [Any], let items = schema["items"] as? [String: Any] {
      for (position, part) in list.enumerated() { check(part, items, "\(place)[\(position)]", &problems) }
    }
  }

  private static func `is`(_ value: Any, _ type: String) -> Bool {
    switch type {
    case "object": value is [String: Any]
    case "array": value is [Any]
    case "null": value is NSNull
    case "string": value is String
    case "boolean": (value as? NSNumber).map { isBoolean($0) } ?? false
    case "integer": (value as? NSNumber).map { !isBoolean($0) && $0.doubleValue.rounded() == $0.doubleValue } ?? false
    default: false
    }
  }

  /// Whether a number came from `true` or `false`.
  private static func isBoolean(_ number: NSNumber) -> Bool { String(cString: number.objCType) == "c" }

  private static func equal(_ left: Any, _ right: Any) -> Bool { (left as? NSObject) == (right as? NSObject) }
}
