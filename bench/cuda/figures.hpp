// What a benchmark on a device found, as a JSON file that is whole at any time: it is written again after every
// section, so that a fault or a time limit costs the section that it hits and no other. A section that throws is named
// in the file, and the next one runs. Host only.
#pragma once

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "tare/error.hpp"

namespace tare::bench {

class Figures {
 public:
  /// Empty: no file; rows go to standard output in any case.
  explicit Figures(std::filesystem::path file) : file_(std::move(file)) {}

  /// Of the whole file.
  void set(const char* key, const std::string& value) { report_[key] = value; }

  void add(nlohmann::ordered_json row) {
    std::printf("%s\n", text(row, -1).c_str());
    std::fflush(stdout);
    report_["rows"].push_back(std::move(row));
  }

  /// body() adds rows, or has sections of its own.
  template <class Body>
  void section(const std::string& name, Body&& body) {
    try {
      body();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
      report_["failed"].push_back({{"section", name}, {"error", error.what()}});
    }
    write();
  }

  bool has_failed() const { return !report_["failed"].empty(); }

 private:
  /// Messages of others may be no UTF-8.
  static std::string text(const nlohmann::ordered_json& json, int indent) {
    return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  }

  void write() const {
    if (file_.empty()) return;
    const std::filesystem::path part = file_.string() + ".part";
    std::error_code failure;
    const bool written = static_cast<bool>((std::ofstream(part) << text(report_, 1) << '\n').flush());
    if (written) std::filesystem::rename(part, file_, failure);
    if (!written || failure) throw Error(ErrorKind::io, "cannot write '" + file_.string() + "'");
  }

  std::filesystem::path file_;
  nlohmann::ordered_json report_{{"rows", nlohmann::ordered_json::array()},
                                 {"failed", nlohmann::ordered_json::array()}};
};

}  // namespace tare::bench
