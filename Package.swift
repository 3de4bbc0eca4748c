// swift-tools-version: 6.1
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
  name: "IOMMULens",
  products: [
    .library(name: "_core", type: .dynamic, targets: ["IOMMULensPython"]),
    .library(name: "PageTables", targets: ["PageTables"]),
    .library(name: "_core", type: .dynamic, targets: ["IOMMULensPython"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
  ],
  targets: [
    .target(name: "PageTables", swiftSettings: strict),
    .systemLibrary(name: "CPython", pkgConfig: "python3", providers: [.apt(["libpython3-dev", "pkg-config"])]),
    .target(
      name: "IOMMULensPython", dependencies: ["CPython", "PageTables"], exclude: ["exports.map"], swiftSettings: strict),
    .testTarget(name: "PageTablesTests", dependencies: ["PageTables"], swiftSettings: strict),
    .testTarget(
      name: "GDBTests", dependencies: [.product(name: "Subprocess", package: "swift-subprocess")],
      swiftSettings: strict),
  ]
)
