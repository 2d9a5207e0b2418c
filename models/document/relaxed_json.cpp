#include "models/document/relaxed_json.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace vitsim {

namespace {

class Rewriter {
 public:
  explicit Rewriter(std::string_view text) : text_(text) { out_.reserve(text.size() + 16); }

  std::string rewrite() {
    while (at_ < text_.size()) {
      step();
    }
    return std::move(out_);
  }

 private:
  [[nodiscard]] bool starts(std::string_view mark) const {
    return text_.substr(at_).starts_with(mark);
  }

  void step() {
    const char c = text_[at_];
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
      new_line_ = new_line_ || c == '\n';
      out_.push_back(c);
      ++at_;
    } else if (c == '#' || starts("//")) {
      blank(std::min(text_.find('\n', at_), text_.size()));
    } else if (starts("/*")) {
      const std::size_t end = text_.find("*/", at_ + 2);
      blank(end == std::string_view::npos ? text_.size() : end + 2);
    } else if (c == '"' || c == '\'') {
      begin_token();
      copy_string(c);
      end_token();
    } else if (c == '{' || c == '[') {
      begin_token();
      open_.push_back(c);
      after_value_ = false;
      key_next_ = c == '{';
      copy();
    } else if (c == '}' || c == ']') {
      close();
    } else if (c == ',') {
      comma_ = out_.size();
      after_value_ = false;
      key_next_ = !open_.empty() && open_.back() == '{';
      copy();
    } else if (c == ':') {
      after_value_ = false;
      key_next_ = false;
      copy();
    } else {
      begin_token();
      copy_word();
      end_token();
    }
  }

  void copy() { out_.push_back(text_[at_++]); }

  void blank(std::size_t end) {
    for (; at_ < end; ++at_) {
      new_line_ = new_line_ || text_[at_] == '\n';
      out_.push_back(text_[at_] == '\n' ? '\n' : ' ');
    }
  }

  /// In front of a key or value: the end of a line may have stood for a comma.
  void begin_token() {
    if (after_value_ && new_line_ && !open_.empty()) {
      out_.push_back(',');
      key_next_ = open_.back() == '{';
    }
    comma_.reset();
  }

  void end_token() {
    after_value_ = !key_next_;
    new_line_ = false;
  }

  void close() {
    if (comma_) {
      out_[*comma_] = ' ';
      comma_.reset();
    }
    if (!open_.empty()) {
      open_.pop_back();
    }
    copy();
    key_next_ = false;
    end_token();
  }

  void copy_string(char quote) {
    out_.push_back('"');
    for (++at_; at_ < text_.size() && text_[at_] != quote && text_[at_] != '\n'; ++at_) {
      if (text_[at_] == '"') {
        out_.push_back('\\');  // inside single quotes
      } else if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
        if (text_[at_ + 1] != '\'') {
          out_.push_back('\\');
        }
        ++at_;
      }
      out_.push_back(text_[at_]);
    }
    if (at_ < text_.size() && text_[at_] == quote) {
      out_.push_back('"');
      ++at_;
    }
  }

  void copy_word() {
    const std::size_t end = std::min(text_.find_first_of(",:{}[]\"# \t\r\n", at_), text_.size());
    const std::size_t length = std::max<std::size_t>(end - at_, 1);
    const std::string_view word = text_.substr(at_, length);
    out_ += key_next_ ? '"' + std::string(word) + '"' : std::string(word);
    at_ += length;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string out_;
  std::vector<char> open_;
  bool key_next_ = false;             // a key may follow
  bool after_value_ = false;          // a value has ended and no comma came
  bool new_line_ = false;             // since the last token
  std::optional<std::size_t> comma_;  // where the last token was one
};

}  // namespace

std::string strict_json(std::string_view relaxed) {
  return Rewriter(relaxed).rewrite();
}

}  // namespace vitsim
